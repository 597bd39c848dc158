"""Embeddings between the vendors that mean the same by them.

https://platform.openai.com/docs/api-reference/embeddings, https://ai.google.dev/api/embeddings
"""
