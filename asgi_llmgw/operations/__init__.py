"""What can be asked of vendors beside chat: embeddings, pictures, speech, moderations and the like.

No operation is understood further than a gateway must: which model, is it a stream, what did it cost. Those are
translated that another vendor has something of the kind for: embeddings, pictures, speech and transcripts.
"""
