"""Reading and writing images, and finding the images of a dataset."""
