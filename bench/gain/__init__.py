"""Gain: what exact merging saves on real vLLM, beside the same vLLM alone."""
