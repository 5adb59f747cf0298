"""The server around gradio: limits, hosts, headers, the queue, and the deletion of visitors' files."""
