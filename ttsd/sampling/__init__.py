"""Samples completions: the protocol, and samplers on vLLM, on transformers and at an endpoint."""
