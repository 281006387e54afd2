"""vLLM's own flags as fields: ``maxNumSeqs`` is ``--max-num-seqs``, and unset means not passed.

Names, types and limits are those of vLLM 0.32's argument parser; no default of vLLM's is copied.
A flag that is not here goes into ``extraArgs``.  Adding one is adding a field: the command line
(``engine``), the reference page and the rule against repeating it in ``extraArgs`` follow.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import (
    Count,
    CountOrZero,
    Decimal,
    Flag,
    Fraction,
    Model,
    Opaque,
    Path,
    Text,
    Word,
)

Size = Annotated[int, Field(ge=1, le=1024)]
Lines = Annotated[tuple[Word, ...], Field(min_length=1, max_length=16)]


class VLLMFlags(Model):
    """The flags of vLLM that people set; one field each, in the order of vLLM's own help."""

    # Model
    model: Text | None = Field(
        default=None,
        description="Name on the Hugging Face hub, or a path in the image or the cache volume.",
    )
    served_model_name: Lines | None = Field(
        default=None,
        description="Names that requests may use for the model; the first one is told in answers.",
    )
    runner: Literal["auto", "generate", "pooling"] | None = Field(
        default=None,
        description="What the model does: generate text, or pool (embed, classify, score).",
    )
    convert: Literal["auto", "none", "embed", "classify"] | None = Field(
        default=None, description="Adapter that turns a generating model into a pooling one."
    )
    tokenizer: Text | None = Field(
        default=None, description="Tokenizer, where it is not the model's own."
    )
    tokenizer_mode: Word | None = Field(
        default=None,
        description="Which tokenizer implementation to use, such as auto, hf or mistral.",
    )
    trust_remote_code: Flag | None = Field(
        default=None, description="Run code that comes with the model. Only for models you trust."
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = Field(
        default=None, description="Data type of weights and activations."
    )
    seed: CountOrZero | None = Field(
        default=None, description="Seed of the engine's random numbers."
    )
    hf_config_path: Text | None = Field(
        default=None,
        description="Hub name or path of the model's configuration, where it is elsewhere.",
    )
    allowed_local_media_path: Path | None = Field(
        default=None, description="Folder in the container that requests may name media files of."
    )
    allowed_media_domains: Lines | None = Field(
        default=None, description="Domains that requests may name media URLs of; unset: all."
    )
    revision: Word | None = Field(default=None, description="Branch, tag or commit of the model.")
    code_revision: Word | None = Field(
        default=None, description="Branch, tag or commit of its code."
    )
    tokenizer_revision: Word | None = Field(
        default=None, description="Branch, tag or commit of the tokenizer."
    )
    max_model_len: Count | None = Field(
        default=None, description="Longest sequence in tokens, prompt and answer together."
    )
    quantization: Word | None = Field(
        default=None, description="How the weights are quantised, such as awq, gptq or fp8."
    )
    enforce_eager: Flag | None = Field(
        default=None,
        description="Run without CUDA graphs and compilation: quick to start, slower to run.",
    )
    max_logprobs: CountOrZero | None = Field(
        default=None, description="Most log probabilities that a request may ask for per token."
    )
    logprobs_mode: (
        Literal["raw_logits", "raw_logprobs", "processed_logits", "processed_logprobs"] | None
    ) = Field(default=None, description="What is answered where log probabilities are asked for.")
    disable_sliding_window: Flag | None = Field(
        default=None,
        description="Cap the sequence at the model's sliding window instead of sliding it.",
    )
    enable_prompt_embeds: Flag | None = Field(
        default=None,
        description="Accept embeddings in place of prompts. Only for clients you trust.",
    )
    config_format: Word | None = Field(
        default=None, description="Format of the model's configuration: auto, hf or mistral."
    )
    hf_overrides: Opaque | None = Field(
        default=None, description="Fields of the Hugging Face configuration to replace."
    )
    pooler_config: Opaque | None = Field(default=None, description="How a pooling model pools.")
    generation_config: Text | None = Field(
        default=None,
        description="Where default sampling parameters come from: auto (the model), vllm, a path.",
    )
    override_generation_config: Opaque | None = Field(
        default=None, description="Default sampling parameters to replace, such as temperature."
    )
    model_impl: Literal["auto", "vllm", "transformers", "terratorch"] | None = Field(
        default=None, description="Which implementation of the model to run."
    )
    logits_processors: Lines | None = Field(
        default=None, description="Python classes that change logits, by their import path."
    )

    # Loading
    load_format: Word | None = Field(
        default=None,
        description="Format of the weights, such as auto, safetensors, dummy or tensorizer.",
    )
    download_dir: Path | None = Field(
        default=None,
        description="Folder to download weights to; unset: the cache volume, if there is one.",
    )
    safetensors_load_strategy: Literal["lazy", "eager", "prefetch", "torchao"] | None = Field(
        default=None,
        description="How weight files are read; prefetch helps on network file systems.",
    )
    model_loader_extra_config: Opaque | None = Field(
        default=None, description="Settings of the loader that loadFormat chose."
    )
    ignore_patterns: Lines | None = Field(
        default=None, description="Files of the model that are not downloaded."
    )

    # Parsers of answers
    reasoning_parser: Word | None = Field(
        default=None, description="Parser that takes the reasoning out of the answer, by its name."
    )
    enable_auto_tool_choice: Flag | None = Field(
        default=None, description="Let the model choose tools; needs toolCallParser."
    )
    tool_call_parser: Word | None = Field(
        default=None, description="Parser that takes tool calls out of the answer, by its name."
    )
    chat_template: Text | None = Field(
        default=None,
        description="Path of a chat template in the container, or a one-line template.",
    )
    chat_template_content_format: Literal["auto", "string", "openai"] | None = Field(
        default=None, description="How message contents are given to the chat template."
    )
    default_chat_template_kwargs: Opaque | None = Field(
        default=None, description="Arguments of the chat template that requests may override."
    )

    # Parallelism on one node
    distributed_executor_backend: Literal["mp", "uni", "ray"] | None = Field(
        default=None, description="How the processes of one pod are run."
    )
    tensor_parallel_size: Size | None = Field(
        default=None, description="Over how many GPUs each layer is split."
    )
    pipeline_parallel_size: Size | None = Field(
        default=None, description="Into how many stages the layers are cut."
    )
    data_parallel_size: Size | None = Field(
        default=None, description="How many copies of the model run in one pod."
    )
    decode_context_parallel_size: Size | None = Field(
        default=None,
        description="Over how many of the tensor-parallel GPUs the KV cache is spread.",
    )
    enable_expert_parallel: Flag | None = Field(
        default=None, description="Spread experts over GPUs instead of splitting each."
    )
    all2all_backend: Word | None = Field(
        default=None, description="How expert-parallel GPUs exchange tokens."
    )
    enable_dbo: Flag | None = Field(
        default=None, description="Overlap computing and exchanging by splitting batches in two."
    )
    enable_eplb: Flag | None = Field(
        default=None, description="Move experts between GPUs by their load."
    )
    disable_custom_all_reduce: Flag | None = Field(
        default=None, description="Use NCCL's all-reduce instead of vLLM's own."
    )
    max_parallel_loading_workers: Size | None = Field(
        default=None, description="How many processes load weights at once; fewer need less memory."
    )

    # KV cache
    block_size: Size | None = Field(default=None, description="Tokens per block of the KV cache.")
    gpu_memory_utilization: Fraction | None = Field(
        default=None,
        description='Share of the GPU\'s memory to use, from 0 to 1, as a string such as "0.90".',
    )
    kv_cache_memory_bytes: Annotated[int, Field(ge=1, le=2**53)] | None = Field(
        default=None,
        description="Size of the KV cache per GPU in bytes, instead of a share of memory.",
    )
    kv_cache_dtype: Word | None = Field(
        default=None, description="Data type of the KV cache, such as auto, bfloat16 or fp8."
    )
    num_gpu_blocks_override: Count | None = Field(
        default=None, description="Number of KV cache blocks, instead of what profiling finds."
    )
    enable_prefix_caching: Flag | None = Field(
        default=None, description="Keep the KV cache of prompts' beginnings for later requests."
    )
    prefix_caching_hash_algo: Literal["sha256", "sha256_cbor", "xxhash", "xxhash_cbor"] | None = (
        Field(default=None, description="Hash that finds cached beginnings.")
    )
    kv_offloading_size: Decimal | None = Field(
        default=None,
        description='GiB of host memory for offloaded KV cache, as a string such as "16".',
    )
    kv_offloading_backend: Literal["native", "lmcache"] | None = Field(
        default=None, description="What offloads the KV cache."
    )
    cpu_offload_gb: Decimal | None = Field(
        default=None, description='GiB of weights per GPU to keep in host memory, such as "8".'
    )

    # Multi-modal input
    limit_mm_per_prompt: Opaque | None = Field(
        default=None, description="Most images, videos and audios per prompt, such as {image: 2}."
    )
    media_io_kwargs: Opaque | None = Field(
        default=None, description="How media are read, per kind."
    )
    mm_processor_kwargs: Opaque | None = Field(
        default=None, description="Arguments of the model's media processor."
    )
    mm_processor_cache_gb: Decimal | None = Field(
        default=None, description='GiB of host memory for processed media, as a string such as "4".'
    )

    # LoRA
    enable_lora: Flag | None = Field(default=None, description="Serve LoRA adapters.")
    lora_modules: Lines | None = Field(
        default=None, description="Adapters to serve, each as name=path or as a JSON object."
    )
    max_loras: Size | None = Field(default=None, description="Most adapters in one batch.")
    max_lora_rank: Size | None = Field(default=None, description="Highest rank of an adapter.")
    max_cpu_loras: Count | None = Field(
        default=None, description="Most adapters kept in host memory."
    )

    # Scheduling
    max_num_batched_tokens: Count | None = Field(
        default=None, description="Most tokens that the engine computes in one step."
    )
    max_num_seqs: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None,
        description="Most sequences that the engine runs at once: the size of its batch. "
        "Changing it restarts pods, one revision after the other; batching.maxBatchSize is live.",
    )
    scheduling_policy: Literal["fcfs", "priority"] | None = Field(
        default=None, description="Order in which waiting requests are run."
    )
    enable_chunked_prefill: Flag | None = Field(
        default=None,
        description="Compute long prompts in pieces, between the steps of other requests.",
    )
    long_prefill_token_threshold: CountOrZero | None = Field(
        default=None, description="From how many tokens on a prompt counts as long; 0: none does."
    )
    disable_hybrid_kv_cache_manager: Flag | None = Field(
        default=None, description="Use one size of KV cache for all kinds of layers."
    )
    async_scheduling: Flag | None = Field(
        default=None, description="Schedule the next step while the last one still runs."
    )
    stream_interval: Size | None = Field(
        default=None, description="Send streamed text after every so many tokens."
    )

    # Compilation and composed settings
    cudagraph_capture_sizes: (
        Annotated[tuple[CountOrZero, ...], Field(min_length=1, max_length=128)] | None
    ) = Field(default=None, description="Batch sizes to capture CUDA graphs for.")
    compilation_config: Opaque | None = Field(
        default=None, description="How the model is compiled."
    )
    speculative_config: Opaque | None = Field(
        default=None, description="Speculative decoding: method, draft model and number of tokens."
    )
    kv_transfer_config: Opaque | None = Field(
        default=None, description="Connector that moves KV cache between engines."
    )
    structured_outputs_config: Opaque | None = Field(
        default=None, description="How structured outputs are enforced."
    )
    additional_config: Opaque | None = Field(
        default=None, description="Settings of a platform's plugin."
    )

    # Logging
    enable_log_requests: Flag | None = Field(
        default=None, description="Log every request. Prompts end up in the log."
    )
    enable_prompt_tokens_details: Flag | None = Field(
        default=None, description="Tell in answers how many tokens of the prompt were cached."
    )
    enable_force_include_usage: Flag | None = Field(
        default=None, description="Tell token counts in every answer, streams included."
    )
    uvicorn_log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] | None = (
        Field(default=None, description="What vLLM's HTTP server logs.")
    )
    disable_uvicorn_access_log: Flag | None = Field(
        default=None, description="Do not log a line for every request."
    )
