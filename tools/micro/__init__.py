"""The bundled model: its corpus, its tokenizer, its shape, its training and what it can do."""
