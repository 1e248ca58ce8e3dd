"""The vocabulary of cascada: plain data and pure rules, with no input or output."""
