"""Trains a language model on one hard coding question, at test time, until it solves it."""
