"""Readers of runs: decoded frames, video files, contact sheets."""
