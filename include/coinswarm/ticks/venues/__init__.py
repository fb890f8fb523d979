"""One module a venue: how its frames are asked for, what they mean, and how its holes show."""
