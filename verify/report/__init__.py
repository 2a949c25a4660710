"""What a comparison found: records, text and page."""
