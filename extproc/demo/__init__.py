"""What `extproc demo` plays: scenes over simulated providers behind a real Envoy and a real server. Needs the extra `demo`."""
