"""What callers pass: checked where it comes in, and shown in the sentence that refuses it."""
