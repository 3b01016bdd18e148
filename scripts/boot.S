# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# What the image boot.img begins with: enough of a guest to see a disk work, without an operating system. The firmware loads this sector;
# it reads what follows through the firmware's driver, adds up the bytes, prints the text that stands in the second sector, and
# the sum, and halts. scripts/make-image.sh puts it together and says what sum is to be expected.
	.code16
	.globl	start
	.equ	SECTORS, 64		# of one request: 32 KiB, below what a firmware has to take
	.equ	BUFFER, 0x1000		# segment: 0x10000
	.equ	BEHIND, 2048		# sectors that are read: 1 MiB
start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp
	cld
	movb	%dl, drive
	xorl	%ebp, %ebp		# the sum
next:
	movb	drive, %dl
	movw	$packet, %si
	movb	$0x42, %ah		# extended read
	int	$0x13
	jc	failed
	cmpl	$1, lba			# the first request has the text
	jne	add
	movw	$BUFFER, %ax
	movw	%ax, %ds
	xorw	%si, %si
	call	print
	xorw	%ax, %ax
	movw	%ax, %ds
add:
	movw	$BUFFER, %ax
	movw	%ax, %es
	xorw	%di, %di
	movw	$(SECTORS * 128), %cx
1:	addl	%es:(%di), %ebp
	addw	$4, %di
	loop	1b
	addl	$SECTORS, lba
	cmpl	$(BEHIND + 1), lba
	jb	next
	movw	$8, %cx			# the sum, in hexadecimal digits
2:	roll	$4, %ebp
	movl	%ebp, %eax
	andb	$15, %al
	addb	$'0', %al
	cmpb	$'9', %al
	jbe	3f
	addb	$('a' - '0' - 10), %al
3:	call	put
	loop	2b
	movw	$done, %si
	jmp	say
failed:
	movw	$bad, %si
say:
	call	print
halt:
	hlt
	jmp	halt
print:
	lodsb
	testb	%al, %al
	jz	4f
	call	put
	jmp	print
4:	ret
put:
	pushaw
	movb	$0x0e, %ah
	movw	$7, %bx
	int	$0x10
	popaw
	ret
bad:	.asciz	"\r\nthe disk can't be read\r\n"
done:	.asciz	" is the sum of 1 MiB, read and added up by this guest\r\n"
drive:	.byte	0
	.balign	4
packet:	.byte	16, 0
	.word	SECTORS
	.word	0, BUFFER
lba:	.long	1, 0
	.org	510
	.word	0xaa55
