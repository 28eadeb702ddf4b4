"""The same network in other runtimes: who is faster, on the same films, once they agree.

``python -m benchmarks.peers knee.osteo --float32 knee.fp32.tflite`` measures. docs/peers.md says
how, and what came of it.
"""
