"""What joins networks, plans and prompts of one system into a denoiser."""
