"""Why an error is not the published one: usual mistakes, undone one by one on a sample of the images."""
