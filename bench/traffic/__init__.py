"""Mixed traffic that knows what it must be answered, for ``bench.correctness`` and ``bench.soak``.

question (what is asked, and the true answer) ──► clients ──► sidecar ──► engine simulator
                                                    │                         ▲
ledger ◄── verdict ◄── wire (what came back) ◄──────┘       weather (faults) ─┘
"""
