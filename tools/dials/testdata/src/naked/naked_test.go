package naked

import "net"

func dialledByATest() { net.Dial("tcp", "a:1") }
