"""Short-lived access tokens of Google Cloud and Microsoft Entra ID, fetched ahead of their expiry into files that Envoy watches.

A process of its own: the ext_proc server imports nothing of this, so no token and nothing that a token is fetched with is ever in its memory.
"""
