"""mnemolog: an event-sourced memory service for AI agents."""
