"""The networks, one file each. They know nothing of ComfyUI, plans or files; all dimensions come from a config."""
