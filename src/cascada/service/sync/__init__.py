"""What a service's journal holds, written to the application's database."""
