"""What an evaluation found, as text, page and JUnit file."""
