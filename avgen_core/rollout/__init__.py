"""The executor and everything it keeps: noise, caches, state, runs."""
