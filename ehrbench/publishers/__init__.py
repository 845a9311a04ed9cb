"""Publishers: one file or folder each; read, download and simulate a publisher's files for a task."""
