"""What can be asked of vendors beside chat: embeddings, pictures, speech, moderations and the like.

No operation is understood further than a gateway must: which model, is it a stream, what did it cost. Embeddings alone
are translated, because two vendors mean the same by them.
"""
