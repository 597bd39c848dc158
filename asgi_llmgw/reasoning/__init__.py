"""Reasoning state of vendors, carried across clients that speak another protocol.

`envelope` seals it, `answers` puts it where the client's protocol has a place for it, `requests` takes it out again,
`bodies` does so where a body is forwarded as it is, and `turns` remembers it for clients that drop it.
"""
