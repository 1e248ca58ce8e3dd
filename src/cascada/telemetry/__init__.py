"""What is counted and measured, before anybody shows it."""
