"""Pictures of a flow as the compiler sees it: who calls whom, what is shared and waited for."""
