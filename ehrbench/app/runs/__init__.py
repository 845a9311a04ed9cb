"""What is made of a finished search, when it ends or later."""
