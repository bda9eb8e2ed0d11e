"""The bundled model: its corpus, tokenizer, shape and training, and a measurement of what it can do."""
