"""The faces: the modern one (`Cache` and its tenant handles) and the documents' names on it."""
