"""Reading and writing images, and where the images of a dataset come from."""
