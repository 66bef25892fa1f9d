"""What services may know of each other: the events between them, and the interfaces they offer synchronously."""
