"""The configuration: where it lies, how it is composed, and what it may say."""
