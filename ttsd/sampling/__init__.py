"""Samples completions: the protocol, and a sampler on vLLM and one on transformers."""
