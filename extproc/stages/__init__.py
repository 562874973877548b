"""What each stage of a request does: pure, driven through `core.exchange`, used by the server, by `extproc explain` and by tests alike."""
