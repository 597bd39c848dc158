"""What Chat Completions and Responses have in common: OpenAI's errors and words."""
