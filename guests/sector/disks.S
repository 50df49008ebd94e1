# What int 13h says of the disks 80h to 82h. Part of sector.S.

disks:
    movw $services, %si
1:  lodsb
    cmpb $0xff, %al
    je 3f
    movb %al, %bl
    movb $0x80, %dl
2:  pushw %si
    pushw %bx
    pushw %dx
    call service
    popw %dx
    popw %bx
    popw %si
    incb %dl
    cmpb $0x83, %dl
    jb 2b
    jmp 1b
3:  retw
services: .byte 0x00, 0x02, 0x04, 0x08, 0x10, 0x15, 0x41, 0x42, 0x44, 0x47, 0x48, 0x4b, 0x4e, 0x99, 0xff

# BL: service, DL: disk
service:
    movw $text_int13, %si
    call print
    movb %dl, %al
    call hex8
    movb $' ', %al
    call put
    movb %bl, %al
    call hex8
    movl $0, BUFFER + 0x1b8
    movl $0x00010010, PACKET    # one sector to BUFFER, LBA 0
    movl $BUFFER, PACKET + 4
    movl $0, PACKET + 8
    movl $0, PACKET + 12
    movw $0x001e, BUFFER        # AH = 48h: size of the result
    movl $0, BUFFER + 16
    movb %bl, %ah
    movb $1, %al
    movw $1, %cx
    movb $0x7b, %dh
    cmpb $2, %ah
    je 1f
    cmpb $4, %ah
    jne 2f
1:  xorb %dh, %dh
2:  movw $0x55aa, %bx
    cmpb $0x41, %ah
    je 3f
    movw $BUFFER, %bx
3:  movw $PACKET, %si
    cmpb $0x48, %ah
    jne 4f
    movw $BUFFER, %si
4:  pushw %ax
    stc
    int $0x13
    popw %di
    pushfw
    pushw %dx
    pushw %cx
    pushw %ax
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %sp, %bp
    movw $text_f, %si
    call print
    movw 6(%bp), %ax            # CF, and IF must be on as before
    andw $0x0201, %ax
    call hex16
    movw $3, %cx
5:  movb $' ', %al
    call put
    movw (%bp), %ax
    call hex16
    addw $2, %bp
    loop 5b
    addw $8, %sp
    shrw $8, %di
    cmpw $2, %di                # what was read
    je 6f
    cmpw $0x42, %di
    je 6f
    cmpw $0x48, %di             # sectors
    jne newline
    movw $(BUFFER + 16), %bx
    jmp 7f
6:  movw $(BUFFER + 0x1b8), %bx
7:  movb $' ', %al
    call put
    movw 2(%bx), %ax
    call hex16
    movw (%bx), %ax
    call hex16
    jmp newline
