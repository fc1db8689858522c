"""What runs beside Pulumi, on the machine that the program runs on, for a host elsewhere."""
