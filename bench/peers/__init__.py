"""What DEORA is measured against: programs that others wrote, set up as their documentation recommends."""
