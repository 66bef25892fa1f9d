"""What of an order is sent together, how far each shipment is, and what is given back for one that is lost."""
