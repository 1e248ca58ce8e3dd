"""The documents' names: argument orders on the engine that all faces share."""
