"""Where an engine runs: its event loop, and how a call from elsewhere comes to it and back."""
