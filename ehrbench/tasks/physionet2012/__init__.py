"""PhysioNet 2012's records: text and JSON, what is believed of them, and what a patient is made of."""
