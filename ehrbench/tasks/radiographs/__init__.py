"""Radiographs: raw images (PNG, JPEG, DICOM) decoded to grey pixels of one size, and a drawn example."""
