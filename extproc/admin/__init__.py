"""The live registry: changes over the registry file while the server runs, kept on disk and shared, and the HTTP API that makes and shows them."""
