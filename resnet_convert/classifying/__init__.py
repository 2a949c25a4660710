"""What a net sees in single images: its best classes, or a detector's boxes."""
