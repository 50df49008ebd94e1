# Prints what the demonstration shows: needs `$banner`, the address of the kernel's `linux_banner`.
printf "CPU mode  "
if ($cr0 & 1) == 0
  printf "real mode"
else
  if ($eflags & 0x20000) != 0
    printf "virtual-8086 mode"
  else
    if ($efer & 0x400) == 0
      if ($cr4 & 0x20) != 0 && ($cr0 & 0x80000000) != 0
        printf "protected mode, PAE paging"
      else
        printf "protected mode"
      end
    else
      if ($cs_attr & 0x200) != 0
        printf "64-bit long mode"
      else
        printf "compatibility mode"
      end
    end
  end
end
printf ", privilege level %d\n", $cs & 3
printf "RIP       0x%016lx\n", $rip
printf "CR3       0x%016lx\n", $cr3
printf "kernel    %s", (char *) $banner
