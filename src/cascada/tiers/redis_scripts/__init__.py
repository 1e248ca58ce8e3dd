"""What Redis itself runs: Lua scripts, each a step that must be atomic. They know no tier."""
