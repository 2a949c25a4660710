"""Images and their labels, in the forms that people have them."""
